"""What a puller, a pusher and a server do with a connection and a store."""
