"""File trees and catar archives: scan, encode, decode, restore."""
