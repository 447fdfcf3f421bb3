"""Pictures in, frames out: `images` for single files and animations, `folder` for many files."""
