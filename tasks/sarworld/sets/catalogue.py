"""Which module makes which data set."""

from __future__ import annotations

from tasks.sarworld.sets import aircraft_voc, chips, corpus, fusar_map, polsar, scene_set, sense
from tasks.sarworld.sets.maker import Maker

MAKERS: dict[str, Maker] = {
    "fusar_air": chips.CHIPS,
    "fusar_ship": chips.SHIPS,
    "sar_acd": chips.CHIPS,
    "fusar_air_sense": sense.AIR,
    "fusar_ship_sense": sense.SHIP,
    "sar_aircraft_few": aircraft_voc.MAKER,
    "fusar_map": fusar_map.MAKER,
    "air_polarsar_seg": polsar.MAKER,
    "corpus": corpus.MAKER,
    "scenes": scene_set.WGS84,
}


def maker_of(dataset: str, *, utm: bool = False) -> Maker:
    """The maker of a data set; scenes can be in UTM instead of WGS84."""
    return scene_set.UTM if utm and dataset == "scenes" else MAKERS[dataset]
