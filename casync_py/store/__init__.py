"""Where chunks live: interfaces, local directories, memory, and wrappers around stores."""
