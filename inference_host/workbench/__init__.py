"""What a model developer uses on a laptop: `waypost host init | test | bench`. (`run` is the host itself.)

    commands   the table of these commands      settings   their flags
    init       writes a package that runs       starters/  what it writes, file by file
    test       `trial` in a process of its own (wanted: what it is told), and its report for people or programs
      trial    in that process, confined: a real host, every sample in three ways (ways, unix_http)
      checks   PURE: what is compared, and what is said where it differs
    samples    samples.json: requests, and the answers that are expected
    bench      a host in a process of its own (host_process), or any running one, under load
      subject  what its model takes, and how many rows went together
      load     closed and open loop      pacer   wakes at a time, not a millisecond later
      figures  PURE: what was measured, summed up
    client     gRPC as both need it: waypost.wire over asyncio, callbacks and no tasks

Each command imports what it needs when it runs.
"""
