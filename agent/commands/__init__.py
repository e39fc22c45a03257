"""The commands of `gatepost`, one file per group; a file is imported only when its command is called."""
