"""The rows: `load` returns inputs `X` and targets `y`. Winnow splits, scales and checks them."""

from sklearn.datasets import load_wine


def load():
    """178 wines with 13 measurements each; the target is the grower. Replace this with your own rows."""
    wine = load_wine(as_frame=True)
    return {"X": wine.data, "y": wine.target, "class_names": wine.target_names}

    # A table of your own, where `price` is the column to predict:
    #     table = pandas.read_csv("rows.csv")          # or pandas.read_parquet("rows.parquet")
    #     return {"X": table.drop(columns="price"), "y": table["price"]}
    # A CSV or Parquet file needs no function at all; in experiment.yaml:
    #     data: {source: rows.csv, target: price}
