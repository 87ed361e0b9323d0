"""Where a byte stream is cut into chunks: casync's buzhash, cut for cut."""
