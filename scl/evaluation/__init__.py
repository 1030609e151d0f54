"""Score a method: on kept features, by the paper's protocol, on photographs of your own.

It may import `scl.datasets` and what stands below it.
"""

from scl import offer

__getattr__, __dir__ = offer(
    __name__,
    {
        "intervals": "conclude gain_with_interval gap_with_interval in_words mean_with_interval"
        " table_of widen",
    },
)
