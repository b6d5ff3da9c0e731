"""The HTTP face: reads messages, asks the store, spells answers. Nothing is run here."""
