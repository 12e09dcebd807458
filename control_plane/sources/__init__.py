"""Where models come from: one small seam, `base.ModelSource`, and an implementation per kind of training platform.

    base   the seam
    grpc   a training platform that serves waypost.api.training.v1
    fake   one in memory, for tests

Following another kind of platform is one more module here and one line in tests/contract/test_sources.py.
"""
