import numpy as np

from hwkd.measure.picture import picture


def test_the_picture_has_its_size_and_is_no_noise():
    image = picture(96, 64)
    assert (image.shape, image.dtype) == ((64, 96, 3), np.uint8)
    steps = np.abs(np.diff(image.astype(int), axis=1)).mean()
    assert image.std() > 4 * steps
