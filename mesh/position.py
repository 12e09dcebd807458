"""Numbers of a position that all components go by: who decides, who carries out, who checks what people ask for."""

REPLICAS_MAX = 64  # of one position; the API refuses more, and so does everybody else who is told of more
ALL = 100  # weights are hundredths of the calls
