"""The rules of the house: no sockets, no disk, no clock."""
