"""From a source of the recipe to documents: files, the hub, text that is on every machine."""
