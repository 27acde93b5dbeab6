"""The stories: what happens to a release on its good and on its worst days. One file each: given, when, then."""
