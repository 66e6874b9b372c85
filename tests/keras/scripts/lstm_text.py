import numpy as np
from tensorflow import keras
from tensorflow.keras.layers import LSTM, Bidirectional, Dense, Embedding
from tensorflow.keras.models import Sequential

keras.utils.set_random_seed(4)
rng = np.random.default_rng(0)
vocabulary, length = 20, 8
texts = rng.integers(4, vocabulary, (200, length))
labels = rng.integers(0, 2, 200)
texts[np.arange(200), rng.integers(0, 4, 200)] = 2 + labels  # one word tells
texts[np.arange(length) >= rng.integers(4, length + 1, 200)[:, None]] = 0  # padding

model = Sequential(
    [
        Embedding(vocabulary, 16, mask_zero=True),
        Bidirectional(LSTM(8)),
        Dense(16, activation="relu"),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(0.03, clipnorm=1.0), metrics=["accuracy"])
model.fit(texts[:150], labels[:150], epochs=4, batch_size=30, verbose=0)
_, result = model.evaluate(texts[150:], labels[150:], verbose=0)
