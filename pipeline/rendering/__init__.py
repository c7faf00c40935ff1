"""Turns files into page images, in processes of their own: no byte of a document is decoded in the caller's process.

`host` runs in the caller's process, `sandbox` in a sandbox process, `conversion` starts LibreOffice and DjVuLibre.
Import names from their modules: this package is imported by sandbox processes too, and holds nothing.
"""
