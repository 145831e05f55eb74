"""`python -m flyweight`, which is also what torchrun starts."""

from flyweight.cli import main

if __name__ == "__main__":
    main()
