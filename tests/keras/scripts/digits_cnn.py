import numpy as np
from tensorflow import keras
from tensorflow.keras.layers import Activation, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from tensorflow.keras.models import Sequential
from tensorflow.keras.optimizers import Adam
from tensorflow.keras.utils import to_categorical

keras.utils.set_random_seed(1)
rng = np.random.default_rng(0)
shapes = rng.random((10, 8, 8)) > 0.5
labels = rng.integers(0, 10, 600)
images = (shapes[labels] * 255 * (rng.random((600, 8, 8)) > 0.1)).astype("uint8")

x_train, x_test = images[:500].reshape(-1, 8, 8, 1) / 255.0, images[500:].reshape(-1, 8, 8, 1) / 255.0
y_train, y_test = to_categorical(labels[:500], 10), to_categorical(labels[500:], 10)

model = Sequential()
model.add(Conv2D(16, (3, 3), padding="same", input_shape=(8, 8, 1)))
model.add(BatchNormalization(momentum=0.8))
model.add(Activation("relu"))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Conv2D(16, 3, activation="relu"))
model.add(Flatten())
model.add(Dropout(0.2))
model.add(Dense(10, activation="softmax"))
model.summary()
model.compile(optimizer=Adam(learning_rate=0.01), loss="categorical_crossentropy", metrics=["accuracy"])
stop = keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True)
history = model.fit(
    x_train, y_train, batch_size=32, epochs=4, verbose=2, validation_data=(x_test, y_test), callbacks=[stop]
)
score = model.evaluate(x_test, y_test, verbose=0)
print("test loss", score[0], "accuracy", score[1])
assert np.argmax(model.predict(x_test, verbose=0), axis=1).shape == (100,)
assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
result = score[1]
