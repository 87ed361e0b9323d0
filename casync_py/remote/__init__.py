"""Locators and endpoints: from what a user types to a store, an index, an archive or a blob."""
