import numpy as np
from tensorflow import keras
from tensorflow.keras.layers import LSTM, Bidirectional, Dense, Embedding
from tensorflow.keras.models import Sequential

keras.utils.set_random_seed(4)
rng = np.random.default_rng(0)
vocabulary, length = 30, 12
texts = rng.integers(4, vocabulary, (400, length))
labels = rng.integers(0, 2, 400)
texts[np.arange(400), rng.integers(0, 6, 400)] = 2 + labels  # one word tells
texts[np.arange(length) >= rng.integers(6, length + 1, 400)[:, None]] = 0  # padding

model = Sequential(
    [
        Embedding(vocabulary, 16, mask_zero=True),
        Bidirectional(LSTM(12, return_sequences=True)),
        LSTM(12, dropout=0.1),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(0.01, clipnorm=1.0), metrics=["accuracy"])
model.fit(texts[:300], labels[:300], epochs=8, batch_size=25, validation_data=(texts[300:], labels[300:]), verbose=0)
_, result = model.evaluate(texts[300:], labels[300:], verbose=0)
