"""Pictures made by a ComfyUI server: any workflow in API format, filled in by a map of names to nodes."""
