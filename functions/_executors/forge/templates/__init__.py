"""Templates that Flow C brings: each folder is one of copier, and data alone.

Files that copier fills in end in `.jinja`, so none of them is a module of ours. This module is here so that the folder
is a room of its own: its data never travel with the modules beside it to Lambda.
"""
