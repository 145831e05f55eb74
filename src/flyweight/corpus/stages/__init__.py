"""The stages of a preparation: read, group, decide what becomes of each document, encode, assemble."""
