"""The tools of the executor `scan`: each looks at the files of a target in its own way, and says what it has found."""
