"""The command line: parse, build Settings, call, print."""
