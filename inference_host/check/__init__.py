"""`waypost host check`: the same loading as before serving, in a process that has shut itself in.

    checker      one package: its verdict
    confine      shuts this process in
      landlock, mounts, seccomp    by what: which files it has, that it changes none, whom it may call
      readable   what is left to read

What a stranger's template does here reaches nobody: no network, no files but the package's, no process but its own.
"""
