import tempfile

import numpy as np
from tensorflow.keras import Input, Model
from tensorflow.keras.callbacks import ModelCheckpoint
from tensorflow.keras.layers import Concatenate, Dense, Dropout
from tensorflow.keras.models import load_model
from tensorflow.keras.optimizers import Adam
from tensorflow.keras.utils import set_random_seed

set_random_seed(3)
rng = np.random.default_rng(0)
numbers = rng.standard_normal((500, 6)).astype("float32")
flags = rng.integers(0, 2, (500, 3)).astype("float32")
labels = (numbers[:, 0] + flags[:, 0] > 0.5).astype("int64") + (numbers[:, 1] > 0).astype("int64")

first = Input(shape=(6,), name="numbers")
second = Input(shape=(3,), name="flags")
x = Dense(24, activation="relu")(first)
merged = Concatenate()([x, second])
merged = Dropout(0.1)(Dense(24, activation="relu")(merged))
outputs = Dense(3, activation="softmax", name="kind")(merged)
model = Model(inputs=[first, second], outputs=outputs)
model.compile(optimizer=Adam(learning_rate=0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
with tempfile.TemporaryDirectory() as folder:
    path = folder + "/best.keras"
    model.fit(
        {"numbers": numbers[:400], "flags": flags[:400]},
        labels[:400],
        validation_data=([numbers[400:], flags[400:]], labels[400:]),
        epochs=12,
        verbose=0,
        callbacks=[ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)],
    )
    best = load_model(path)
probabilities = best.predict([numbers[400:], flags[400:]], verbose=0)
np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
result = (probabilities.argmax(-1) == labels[400:]).mean()
