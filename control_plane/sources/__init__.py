"""Where models come from: one small seam, `base.ModelSource`, and an implementation per kind of training platform.

Following another kind of platform is one more module here and one line in tests/contract/test_sources.py.
"""
