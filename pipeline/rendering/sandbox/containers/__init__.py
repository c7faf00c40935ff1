"""Archives and mail: their members, and what a ZIP or compound file is."""
