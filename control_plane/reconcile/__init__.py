"""From what people want to what each edge server is told: `loop` reads, `domain.plan` decides, `loop` commits."""
