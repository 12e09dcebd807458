"""From a package to code that can be run.

    manifest     packages: what there is to load (template_source)
    loaded       a model in memory
    onnx         the default template      requirements   the libraries that a template needs
    template     the code around a model, the users'      template_metrics   what it counts itself
    faults       the fence around it: what is its failure, and where it was

Whatever a template raises ends at the fence, and hurts one request.
"""
