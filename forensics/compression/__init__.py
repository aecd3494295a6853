"""Codecs on photographs: how those that learn are trained, and what all of them cost and keep."""
