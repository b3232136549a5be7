"""Words that carry no fact: synonyms of the field and modifiers, for target and landform texts.

None of them may say what only a claim may say; the tests hold every word here against the phrases of every field.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tasks.sarworld.texts.wording import Pools

_SHARED: dict[str, tuple[str, ...]] = {
    "image": (
        "scene", "frame", "acquisition", "window", "radar picture", "amplitude image", "tile", "SAR image", "subset",
        "footprint",
    ),
    "seen": ("visible", "discernible", "recognisable", "evident", "detectable", "identifiable", "noticeable"),
    "judged": (
        "judging by the backscatter contrast", "as the echo strength tells", "from the differences in tone",
        "on textural evidence", "after despeckling", "despite residual speckle", "given the incidence angle",
        "under close inspection", "allowing for layover", "in spite of clutter", "with sidelobes discounted",
        "at native sampling", "amid coherent noise", "as the shadows suggest",
    ),
    "certainty": (
        "with high confidence", "the evidence is convincing", "a second look agrees", "the reading is stable",
        "there is little room for dispute", "a cross-check was passed", "the finding is plausible",
    ),
    "report": (
        "Interpretation", "Assessment", "Analyst note", "Summary", "Observation", "Finding", "Remark", "Description",
    ),
    "shows": ("shows", "presents", "displays", "exhibits", "reveals", "contains", "captures"),
    "vaguely": (
        "owing to weak contrast", "because speckle dominates", "without confirmation on the ground",
        "for lack of resolution", "as the returns merge", "until another pass", "because the echoes fade",
        "whatever enhancement is tried",
    ),
}  # fmt: skip

_TARGET: dict[str, tuple[str, ...]] = {
    "separate": ("separable", "distinct", "individual", "well-resolved", "discrete", "unmistakable", "metallic"),
    "separation": (
        "set off by contrast", "free from overlap", "with ghost echoes discarded", "azimuth ambiguities ignored",
        "clutter spikes rejected", "recognised by compact bright returns", "border cases included",
        "disentangled from adjacent echoes",
    ),
    "emptiness": (
        "merely background echoes", "only natural returns", "just homogeneous reflectivity", "sheer noise texture",
        "purely diffuse clutter", "nothing but ambient response",
    ),
    "reference": (
        "relative to the image centre", "with north upward", "by centroid position", "in pixel coordinates",
        "taking the box centres", "referring to screen directions", "the axes running through the middle",
    ),
    "placed": ("distributed", "positioned", "situated", "found", "localised", "registered", "plotted"),
    "prep": ("within", "in", "inside", "at", "near"),
    "echoes": (
        "the brightest scatterers trace the contours", "corner reflectors glitter", "specular points mark the edges",
        "double-bounce lines sharpen the borders", "radar shadow completes the shape", "strong facets sparkle",
        "the returns resemble reference templates", "scattering centres persist",
    ),
    "measure": (
        "converted from the pixel spacing", "corrected for blooming", "taken along the longer side",
        "read off a fitted rectangle", "with smear compensated", "bounded by the outer echoes",
        "following the threshold contour", "in ground range",
    ),
    "evidence": (
        "the proportions fit", "catalogue silhouettes agree", "the dimension ratios match",
        "alternatives are ruled out", "the template correlation is strongest", "structural details are decisive",
        "the geometry is persuasive", "the shape descriptors are coherent",
    ),
    "spacing": (
        "judged visually", "headings were set aside", "the configuration looks deliberate",
        "the nearest echoes were considered", "clutter close by was ignored", "the positions were plotted first",
        "with the axes of the image in mind",
    ),
    "footing": (
        "the underlying reflectivity is low", "the supporting surface is homogeneous", "the base tone is stable",
        "the contrast to the base aids detection", "the adjoining texture was weighed",
        "the background class is assigned", "the contact zone was inspected",
    ),
    "nearby": (
        "the margins were examined", "the periphery is included", "the wider context was consulted",
        "the setting was described", "the adjacent reflectors were interpreted", "the ambient tones differ",
        "the vicinity was sketched",
    ),
}  # fmt: skip

_LANDFORM: dict[str, tuple[str, ...]] = {
    "relief": (
        "elevation cues were considered", "the slope shading is typical", "the morphology is characteristic",
        "foreshortening was analysed", "the topographic signature is coherent", "the surface roughness fits",
        "the landscape is recognised by its contours",
    ),
    "usage": (
        "human activity is implied", "the infrastructure is telling", "the purpose follows from the facilities",
        "the signs of use are consistent", "the zoning fits", "the planning intention is legible",
        "the economic role is inferred",
    ),
    "zonation": (
        "sectors were compared separately", "the dominant class is named", "the majority cover is stated",
        "minor components are omitted", "the mosaic is simplified", "subordinate classes are suppressed",
        "with north upward",
    ),
    "order": (
        "the plot geometry was examined", "block orientations were measured", "the spacing was tested",
        "street axes were compared", "the internal structure was weighed", "the texture was checked for repetition",
        "alignment statistics support it",
    ),
    "edges": (
        "adjacent tones were compared", "the contrast profile was inspected", "the interface width was estimated",
        "the perimeter was sampled", "a transect was drawn across", "the gradient magnitude was tested",
        "fringe pixels were analysed",
    ),
    "walls": (
        "corner reflections were counted", "double-bounce lines were sought", "roof layover was considered",
        "bright facets were examined", "shadow strips were sought", "permanent scatterers were sought",
        "the urban texture index agrees",
    ),
    "lines": (
        "a linear filter was applied", "continuity was checked", "embankment echoes are excluded",
        "dark bands were followed", "field borders were told apart", "junctions were sought",
        "smooth asphalt reflects away",
    ),
    "mirror": (
        "dark patches were examined", "shadow was told apart", "wind ripple was considered",
        "the backscatter minimum was sought", "the surface reflectivity was tested", "smooth ground was told apart",
        "the low returns were compared",
    ),
}  # fmt: skip

TARGET_POOLS: Pools = MappingProxyType({**_SHARED, **_TARGET})
LANDFORM_POOLS: Pools = MappingProxyType({**_SHARED, **_LANDFORM})
NOUNS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "aircraft": {
            "aircraft": "aircraft", "airframes": "airframe", "aeroplanes": "aeroplane", "planes": "plane",
            "flying machines": "flying machine", "fixed-wing platforms": "fixed-wing platform",
        },
        "ship": {
            "ships": "ship", "vessels": "vessel", "hulls": "hull", "craft": "craft", "boats": "boat",
            "seagoing units": "seagoing unit",
        },
    }
)  # fmt: skip
"""By domain: what targets are called, and what a single one is."""
