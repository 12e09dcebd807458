"""The part of the control plane that decides. Pure: values in, values out; no clock, no luck, no I/O."""
