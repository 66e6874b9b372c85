import numpy as np
import tensorflow.keras as keras
from tensorflow.keras import layers, regularizers

keras.utils.set_random_seed(2)
rng = np.random.default_rng(0)
x = rng.standard_normal((400, 5)).astype("float32")
y = (x[:, 0] * x[:, 1] + np.sin(x[:, 2])).astype("float32")

model = keras.Sequential(
    [
        layers.Dense(32, activation="relu", input_shape=(5,), kernel_regularizer=regularizers.l2(1e-5)),
        layers.Dense(32, activation="relu", kernel_initializer="he_normal"),
        layers.Dense(1),
    ]
)
model.compile(loss="mean_squared_error", optimizer=keras.optimizers.Adam(0.005), metrics=["mae"])
rate = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5)
history = model.fit(x, y, epochs=15, batch_size=20, validation_split=0.2, verbose=0, callbacks=[rate])
loss, mae = model.evaluate(x, y, verbose=0)
predicted = model.predict(x[:7], verbose=0)
assert predicted.shape == (7, 1)
assert history.history["val_mae"][-1] < history.history["val_mae"][0]
result = 1 - loss / y.var()
