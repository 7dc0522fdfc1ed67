"""Pictures of the notebooks whose marks must not hide each other."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from lab.results import charts


def test_labels_of_close_words_stand_apart():
    words = ["good", "bad", "fine", "poor"]
    fig = charts.word_map(words, np.array([[0, 0], [0.1, 0], [0, 0.1], [10, 10]]), ["good"] * 3 + ["poor"])
    [axis] = fig.axes
    assert [text.get_text() for text in axis.texts] == words
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(one.overlaps(two) for one, two in itertools.combinations(boxes, 2))
    plt.close(fig)
