"""One module or package per technology behind the ports, each imported only where it is chosen."""
