"""The table of model kinds: `fastattn train KIND`. A new kind is a file here and a line below; `cnn` and `lstm`
wait for their models in `fastattn.models`."""

from .bert import BERTRecipe
from .classifier import ClassifierRecipe
from .cnn import CNNRecipe
from .gpt import GPTRecipe
from .lstm import LSTMRecipe
from .mlp import MLPRecipe
from .recipe import Data, Recipe
from .translate import TranslateRecipe
from .vit import ViTRecipe

__all__ = ["DEFAULT", "RECIPES", "Data", "Recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        GPTRecipe(),
        MLPRecipe(),
        CNNRecipe(),
        ViTRecipe(),
        BERTRecipe(),
        LSTMRecipe(),
        ClassifierRecipe(),
        TranslateRecipe(),
    )
}
DEFAULT = "gpt"
