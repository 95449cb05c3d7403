from tests.contracts.moto import believing_moto, strict_moto

__all__ = ["believing_moto", "strict_moto"]
