"""What people use: the `waypost` command, a client of the public API like any other.

    cli/         the command itself, one module per group of commands
    local/       `waypost up`: the whole platform on one machine
    simulation/  a fleet that is not there, to try a rollout on
    contexts     which platform is meant, and the credential for it
    client       the API of that platform, with errors that a person can act on
    following    one resource as it changes, across a platform that restarts meanwhile
    kinds        what there is to get, list, create, update and delete
      columns    PURE: what `list` and `status` show of each
    specs        PURE: resources as YAML, for people who keep them in git (spec_reader)
    placement    PURE: what a person says of a position on the command line
      windows    PURE: and of maintenance windows
      roles      PURE: and of roles
    rollout      PURE: whether a deployment has arrived, is on its way, or never will
    figures      PURE: what a position did lately, as rates and percentiles, and as a page
    messages     PURE: messages of the API as people and programs read them
    loglines     PURE: log lines as people read them
    join         tokens with which agents join
    upload       a model that a person brings by hand
    inference    one inference by hand

Nothing here decides anything about a fleet: whatever the console can do, a generated client in any language can.
"""
