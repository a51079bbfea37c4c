"""Gradient-boosted trees: XGBoost, LightGBM and CatBoost behind one door, through their native interfaces.

The classifiers minimise three-class log-loss, the regressors the squared error. All see the raw features as float32 (trees need
no scaling and split missing values on their own) and are saved in the library's own portable format. The same rows, parameters,
threads and seed give the same model.
"""

from crp_pipeline.models.gbdt.booster import Booster, GbdtParams
from crp_pipeline.models.gbdt.catboost import CatBoost
from crp_pipeline.models.gbdt.lightgbm import LightGBM, LightGBMRegressor
from crp_pipeline.models.gbdt.xgboost import XGBoost, XGBoostRegressor

__all__ = ["Booster", "CatBoost", "GbdtParams", "LightGBM", "LightGBMRegressor", "XGBoost", "XGBoostRegressor"]
