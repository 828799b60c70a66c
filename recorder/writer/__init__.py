"""The part of a recording that runs in the writer process. It never imports torch."""
