# === base
import numpy as np
import pandas as pd


def load_series(path, column, horizon, context, train_share=0.7):
    frame = pd.read_csv(path, parse_dates=["date"]).sort_values("date")
    values = frame[column].to_numpy(dtype=np.float32)
    values = np.where(np.isnan(values), np.nanmean(values), values)
    split = int(len(values) * train_share)
    mean, std = values[:split].mean(), values[:split].std()
    scaled = (values - mean) / (std + 1e-8)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, context + horizon)
    inputs, targets = windows[:, :context], windows[:, context:]
    return (inputs[:split], targets[:split]), (inputs[split:], targets[split:]), (mean, std)
# === copy: exact
import numpy as np
import pandas as pd

COLUMNS = ["open", "close"]


def load_series(path, column, horizon, context, train_share=0.7):
    frame = pd.read_csv(path, parse_dates=["date"]).sort_values("date")
    values = frame[column].to_numpy(dtype=np.float32)
    values = np.where(np.isnan(values), np.nanmean(values), values)
    split = int(len(values) * train_share)
    mean, std = values[:split].mean(), values[:split].std()
    scaled = (values - mean) / (std + 1e-8)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, context + horizon)
    inputs, targets = windows[:, :context], windows[:, context:]
    return (inputs[:split], targets[:split]), (inputs[split:], targets[split:]), (mean, std)
# === copy: temporaries, renamed
import numpy
import pandas


def read_windows(file, name, ahead, back, share=0.8):
    table = pandas.read_csv(file, parse_dates=["date"])
    table = table.sort_values("date")
    raw = table[name]
    x = raw.to_numpy(dtype=numpy.float32)
    missing = numpy.isnan(x)
    average = numpy.nanmean(x)
    x = numpy.where(missing, average, x)
    cut = int(len(x) * share)
    head = x[:cut]
    mu = head.mean()
    sigma = head.std()
    z = (x - mu) / (sigma + 1e-8)
    views = numpy.lib.stride_tricks.sliding_window_view(z, back + ahead)
    past = views[:, :back]
    future = views[:, back:]
    return (past[:cut], future[:cut]), (past[cut:], future[cut:]), (mu, sigma)
# === copy: logging, hints, statement
import logging

import numpy as np
import pandas as pd

log = logging.getLogger(__name__)


def load_series(path: str, column: str, horizon: int, context: int, train_share: float = 0.7):
    log.info("reading %s", path)
    frame = pd.read_csv(path, parse_dates=["date"]).sort_values("date")
    log.debug("%d rows", len(frame))
    values: np.ndarray = frame[column].to_numpy(dtype=np.float32)
    values = np.where(np.isnan(values), np.nanmean(values), values)
    split: int = int(len(values) * train_share)
    mean, std = values[:split].mean(), values[:split].std()
    log.debug("mean %s std %s", mean, std)
    scaled = (values - mean) / (std + 1e-8)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, context + horizon)
    inputs, targets = windows[:, :context], windows[:, context:]
    log.info("%d windows", len(windows))
    return (inputs[:split], targets[:split]), (inputs[split:], targets[split:]), (mean, std)
# === other: reading prices
import numpy as np
import pandas as pd


def load_returns(path, symbol, start, end):
    frame = pd.read_csv(path, parse_dates=["date"]).sort_values("date")
    frame = frame[(frame["symbol"] == symbol) & frame["date"].between(start, end)]
    prices = frame["close"].to_numpy(dtype=np.float64)
    returns = np.diff(np.log(prices))
    volatility = pd.Series(returns).rolling(20).std().fillna(0.0).to_numpy()
    return frame["date"].to_numpy()[1:], returns, volatility
# === other: scores of a forecast
import numpy as np


def forecast_scores(actual, predicted, naive, quantiles):
    error = actual - predicted
    mae = np.abs(error).mean()
    rmse = np.sqrt(np.square(error).mean())
    mase = mae / np.abs(actual - naive).mean()
    coverage = [(actual <= np.quantile(predicted, q, axis=0)).mean() for q in quantiles]
    return {"mae": mae, "rmse": rmse, "mase": mase, "coverage": coverage}
