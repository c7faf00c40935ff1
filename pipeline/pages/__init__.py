"""The page pipeline: register sources, plan pages, process, save, delete. Start reading at `pages.process`."""
