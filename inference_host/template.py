"""What those import who write templates: the classes that a template's methods are given and give back.

How a template is written: docs/serving.md; what it may do and is told: docs/reference/templates.md.
"""

from inference_host.model.template import Context, Template
from inference_host.model.template_metrics import Metrics
from inference_host.values.signature import Signature, TensorSpec

__all__ = ["Context", "Metrics", "Signature", "Template", "TensorSpec"]
