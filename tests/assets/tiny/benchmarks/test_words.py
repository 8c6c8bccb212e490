from tiny.helpers import count_words


def test_count_words(benchmark):
    benchmark(count_words, "the same words again and again " * 200)
