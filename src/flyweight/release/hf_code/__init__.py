"""The modeling code that travels with exported models which no stock class can hold.

`configuration_flyweight.py` and `modeling_flyweight.py` are copied beside the weights as they are, so they
import nothing of Flyweight.
"""
