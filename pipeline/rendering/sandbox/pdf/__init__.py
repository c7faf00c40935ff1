"""PDF files: pages, text layer, outline, attachments, encryption."""
