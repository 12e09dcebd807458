"""Model versions on this machine, by digest.

    store       versions: what they consist of, laid out for hosts; how long each is kept
    blobs       files: fetched in pieces, resumed, verified
    fetching    a task for each version that a position needs, tried again until it is here

Nothing is started with a file that was not verified, and what may have to run again is kept.
"""
