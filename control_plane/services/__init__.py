"""The control plane's public API: one module per service of waypost.api.control.v1."""
