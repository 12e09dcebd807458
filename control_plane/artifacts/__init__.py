"""Files by digest.

    store      a directory of them: written in pieces, resumed, verified
    service    uploads and downloads, over gRPC

What several control planes have between them is peers/artifacts.
"""
