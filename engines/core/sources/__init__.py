"""Where photos come from: each kind of source lists entries and reads them."""
